import { readFileSync, writeFileSync } from "node:fs";

interface Bird { species: string; island: string; mass: number | null }

const [header, ...rows] = readFileSync("penguins.csv", "utf8").trim().split("\n").map((line) => line.split(","));
const column = (name: string): number => header.indexOf(name);
const birds: Bird[] = rows.map((row) => {
  const mass = Number(row[column("body_mass_g")]);
  return { species: row[column("species")], island: row[column("island")], mass: mass > 0 ? mass : null };
});

const islands: Record<string, { birds: number; species: string[]; heaviest: number }> = {};
for (const bird of birds) {
  const island = (islands[bird.island] ??= { birds: 0, species: [], heaviest: 0 });
  island.birds++;
  if (!island.species.includes(bird.species)) island.species.push(bird.species);
  island.heaviest = Math.max(island.heaviest, bird.mass ?? 0);
}
for (const [name, island] of Object.entries(islands).sort()) {
  console.log(`${name.padEnd(10)} ${String(island.birds).padStart(4)} birds  heaviest ${island.heaviest} g  ${island.species.sort().join(", ")}`);
}
writeFileSync("islands.json", JSON.stringify(islands, null, 2) + "\n");
