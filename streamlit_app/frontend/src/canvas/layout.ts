/**
 * Positions of nodes that nobody has moved: by levels, from left to right.
 *
 * Takes some milliseconds for hundreds of nodes, where general libraries take a second.
 */
import type { EdgeInfo, NodeInfo, Place } from "./types";

export const WIDTH = 206;
export const HEIGHT = 58;

const BETWEEN_NODES = { x: 52, y: 12 };
/** A picture whose width exceeds its height by this factor gets another row of regions. */
const ASPECT = 1.2;

const BETWEEN_REGIONS = { x: 110, y: 150 };
/** Odd, so that the last sweep goes right and readers of a single node end up beside it. */
const SWEEPS = 11;

interface Item {
  name: string;
  width: number;
  height: number;
}

interface Link {
  parent: string;
  child: string;
}

type Neighbours = Map<string, string[]>;

/** The upper left corner of every node. Nodes of one region stay together. */
export function layOut(
  nodes: readonly NodeInfo[],
  edges: readonly EdgeInfo[],
): Map<string, Place> {
  const links = edges.filter((edge) => !edge.implied);
  const regionOf = new Map(nodes.map((node) => [node.name, node.region]));
  const blocks = new Map<string, { places: Map<string, Place>; item: Item }>();
  for (const region of new Set(regionOf.values())) {
    const items = nodes
      .filter((node) => node.region === region)
      .map(({ name }) => ({ name, width: WIDTH, height: HEIGHT }));
    const within = links.filter(
      (link) => regionOf.get(link.parent) === region && regionOf.get(link.child) === region,
    );
    const places = layered(items, within, BETWEEN_NODES);
    blocks.set(region, { places, item: { name: region, ...extent(places) } });
  }
  const across = links.map(({ parent, child }) => ({
    parent: regionOf.get(parent) ?? "",
    child: regionOf.get(child) ?? "",
  }));
  const items = [...blocks.values()].map((block) => block.item);
  const corners = inRows(items, layered(items, across, BETWEEN_REGIONS));
  const all = new Map<string, Place>();
  for (const [region, { places }] of blocks) {
    const corner = corners.get(region)!;
    for (const [name, { x, y }] of places) {
      all.set(name, { x: Math.round(corner.x + x), y: Math.round(corner.y + y) });
    }
  }
  return all;
}

/** Breaks a long row of regions into several rows, which fit the screen better. */
function inRows(items: readonly Item[], corners: Map<string, Place>): Map<string, Place> {
  const placed = items.map((item) => ({ ...item, ...corners.get(item.name)! }));
  const width = Math.max(...placed.map((item) => item.x + item.width));
  const height = Math.max(...placed.map((item) => item.y + item.height)) + BETWEEN_REGIONS.y;
  const rows = Math.max(1, Math.round(Math.sqrt(width / height / ASPECT)));
  if (rows === 1) return corners;
  const bands = new Map<number, typeof placed>();
  for (const item of placed) {
    const row = Math.min(rows - 1, Math.floor((item.x * rows) / width));
    bands.set(row, [...(bands.get(row) ?? []), item]);
  }
  const found = new Map<string, Place>();
  let y = 0;
  for (const row of [...bands.keys()].sort((a, b) => a - b)) {
    const band = bands.get(row)!;
    const left = Math.min(...band.map((item) => item.x));
    const top = Math.min(...band.map((item) => item.y));
    for (const item of band) found.set(item.name, { x: item.x - left, y: item.y - top + y });
    y += Math.max(...band.map((item) => item.y - top + item.height)) + BETWEEN_REGIONS.y;
  }
  return found;
}

function extent(places: Map<string, Place>): { width: number; height: number } {
  const corners = [...places.values()];
  return {
    width: Math.max(...corners.map(({ x }) => x + WIDTH)),
    height: Math.max(...corners.map(({ y }) => y + HEIGHT)),
  };
}

/** Items in columns, each to the right of its parents and near the height of its neighbours. */
function layered(
  items: readonly Item[],
  links: readonly Link[],
  gap: { x: number; y: number },
): Map<string, Place> {
  const [above, below] = neighbours(items, links);
  const columns = inColumns(items, above, below);
  const middles = new Map<string, number>();
  for (const column of columns) spread(column, () => 0, middles, gap.y);
  const towards = (side: Neighbours) => (name: string) => {
    const near = side.get(name)!.map((other) => middles.get(other)!);
    return near.length ? near.reduce((sum, y) => sum + y, 0) / near.length : middles.get(name)!;
  };
  for (let sweep = 0; sweep < SWEEPS; sweep++) {
    const right = sweep % 2 === 0;
    for (const column of right ? columns : [...columns].reverse()) {
      spread(column, towards(right ? above : below), middles, gap.y);
    }
  }
  return corners(columns, middles, gap.x);
}

function neighbours(items: readonly Item[], links: readonly Link[]): [Neighbours, Neighbours] {
  const above: Neighbours = new Map(items.map((item) => [item.name, []]));
  const below: Neighbours = new Map(items.map((item) => [item.name, []]));
  for (const { parent, child } of links) {
    if (parent !== child && above.has(child) && below.has(parent)) {
      above.get(child)!.push(parent);
      below.get(parent)!.push(child);
    }
  }
  return [above, below];
}

/** Columns by the longest path; an item without parents goes just before its first child. */
function inColumns(items: readonly Item[], above: Neighbours, below: Neighbours): Item[][] {
  const ranks = new Map<string, number>();
  const under = new Set<string>();
  const rank = (name: string): number => {
    const known = ranks.get(name);
    if (known !== undefined) return known;
    if (under.has(name)) return -1; // cycles of definitions are drawn, too
    under.add(name);
    const found = 1 + Math.max(-1, ...above.get(name)!.map(rank));
    ranks.set(name, found);
    return found;
  };
  for (const { name } of items) rank(name);
  for (const { name } of items) {
    const children = below.get(name)!;
    if (!above.get(name)!.length && children.length) {
      ranks.set(name, Math.max(0, Math.min(...children.map((child) => ranks.get(child)!)) - 1));
    }
  }
  const columns: Item[][] = [];
  for (const item of items) (columns[ranks.get(item.name)!] ??= []).push(item);
  return columns.filter((column) => column !== undefined);
}

/**
 * Puts a column's items as near as possible to their wanted heights without overlaps: sorts them,
 * then moves them apart in groups that share the displacement.
 */
function spread(
  column: Item[],
  wanted: (name: string) => number,
  middles: Map<string, number>,
  gap: number,
): void {
  const wish = new Map(column.map(({ name }) => [name, wanted(name)]));
  column.sort((a, b) => wish.get(a.name)! - wish.get(b.name)!);
  const offsets: number[] = [];
  const groups: { sum: number; count: number }[] = [];
  column.forEach((item, at) => {
    const before = column[at - 1];
    offsets.push(before ? offsets[at - 1]! + (before.height + item.height) / 2 + gap : 0);
    let group = { sum: wish.get(item.name)! - offsets[at]!, count: 1 };
    for (let last = groups.at(-1); last && mean(last) > mean(group); last = groups.at(-1)) {
      groups.pop();
      group = { sum: last.sum + group.sum, count: last.count + group.count };
    }
    groups.push(group);
  });
  const starts = groups.flatMap((group) => Array<number>(group.count).fill(mean(group)));
  column.forEach((item, at) => middles.set(item.name, starts[at]! + offsets[at]!));
}

function mean({ sum, count }: { sum: number; count: number }): number {
  return sum / count;
}

function corners(columns: Item[][], middles: Map<string, number>, gap: number): Map<string, Place> {
  const places = new Map<string, Place>();
  let x = 0;
  for (const column of columns) {
    for (const { name, height } of column) places.set(name, { x, y: middles.get(name)! - height / 2 });
    x += Math.max(...column.map(({ width }) => width)) + gap;
  }
  const top = Math.min(...[...places.values()].map(({ y }) => y));
  for (const place of places.values()) place.y -= top;
  return places;
}
