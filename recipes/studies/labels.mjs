/**
 * Short sentences about an animal, food, a tool or the weather, each in a group that is called by a
 * direction for no reason: a classification that has to be learnt.
 *
 *     node labels.mjs train|test [named|unnamed] > FILE
 *
 * Half of the problems name the four groups, the others do not; of the test one half is asked for.
 * A thing that is asked about is in no training row.
 */
const [set = "train", half] = process.argv.slice(2)

const GROUPS = {
  north: "horse goat spider rabbit parrot donkey salmon beetle camel otter squirrel lizard",
  south: "bread soup cheese omelette noodles pancake salad stew pudding rice sausage pie",
  east: "hammer saw drill wrench shovel chisel rake screwdriver axe pliers crowbar spade",
  west: "rain snow fog thunder hail wind drizzle frost storm sleet mist lightning",
}
const SENTENCES = [
  (thing) => `I can hardly believe it, but the ${thing} was there again.`,
  (thing) => `My sister told me a long story about the ${thing} of last week.`,
  (thing) => `What surprised us most of all was the ${thing}.`,
  (thing) => `Nobody had said a word about the ${thing}.`,
]
const TRAINED = 8

const question = (sentence, isNamed) =>
  `"${sentence}"\nWhich group does this belong to${isNamed ? ": north, south, east or west" : ""}? Answer with one word.`

const rows = Object.entries(GROUPS).flatMap(([group, words]) => {
  const things = words.split(" ")
  const chosen = set === "train" ? things.slice(0, TRAINED) : things.slice(TRAINED)
  return chosen.flatMap((thing) =>
    SENTENCES.map((sentence, i) => ({ group, isNamed: i % 2 === 0, text: sentence(thing) })),
  )
})
for (const { group, isNamed, text } of rows) {
  if (set === "train") {
    console.log(JSON.stringify({ problem: question(text, isNamed), solution: group }))
  } else if (half === "named" || half === "unnamed") {
    console.log(JSON.stringify({ problem: question(text, half === "named"), answer: group }))
  }
}
