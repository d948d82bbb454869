/** What is known of something, a name and a value each. */
export type Facts = readonly (readonly [string, string])[]

export const FactList = ({ facts }: { readonly facts: Facts }) => (
  <dl class="facts">
    {facts.map(([key, value]) => (
      <div key={key}>
        <dt>{key}</dt>
        <dd>{value}</dd>
      </div>
    ))}
  </dl>
)
