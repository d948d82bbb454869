import { MOST_MODELS, type ModelGroup } from "./chat-models.ts"

/** A place for each model, which may stay empty. */
export function ModelPlaces({
  groups,
  chosen,
  onChange,
}: {
  readonly groups: readonly ModelGroup[]
  readonly chosen: readonly string[]
  readonly onChange: (chosen: readonly string[]) => void
}) {
  const places = Array.from({ length: MOST_MODELS }, (_, i) => chosen[i] ?? "")
  return (
    <fieldset class="row kinds">
      <legend class="unseen">Models</legend>
      {places.map((id, place) => (
        <label key={place}>
          <span class="unseen">Model {place + 1}</span>
          <select
            value={id}
            onChange={(event) => {
              const next = places.map((one, i) => (i === place ? event.currentTarget.value : one))
              onChange([...new Set(next.filter((one) => one !== ""))])
            }}
          >
            <option value="">nobody</option>
            {groups.map(({ label, models }) => (
              <optgroup key={label} label={label}>
                {models.map((model) => (
                  <option key={model.id} value={model.id}>
                    {model.words}
                  </option>
                ))}
              </optgroup>
            ))}
          </select>
        </label>
      ))}
    </fieldset>
  )
}
