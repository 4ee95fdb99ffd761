/** The data from Python, and the events sent back. */

export type Standing =
  | "fresh"
  | "waiting"
  | "stale"
  | "running"
  | "failed"
  | "broken"
  | "source"
  | "defined";

export interface Place {
  x: number;
  y: number;
}

export interface NodeInfo {
  name: string;
  title: string;
  kind: string;
  /** The kind in words. */
  kindWords: string;
  /** Its concept, in the picture of all concepts. */
  region: string;
  /** Its concept, if it belongs to another one than the picture. */
  elsewhere: string;
  standing: Standing;
  why: string;
  facts: string;
  place: [number, number] | null;
}

export interface EdgeInfo {
  parent: string;
  child: string;
  through: boolean;
  /** There is also a longer path. */
  implied: boolean;
}

export interface Data {
  label: string;
  nodes: readonly NodeInfo[];
  edges: readonly EdgeInfo[];
  /** For each kind of node, the kinds that it can be the parent of. */
  links: Record<string, readonly string[]>;
  /** Kinds that can be created, with their names. */
  palette: readonly { kind: string; words: string }[];
  mayEdit: boolean;
  opened: string;
  height: number;
  /** Counts resets of the layout. */
  layout: number;
}

/** Each field is an event with its data. */
export interface Events {
  opened: { name: string };
  created: { kind: string; parent: string | null };
  connected: { parent: string; child: string };
  moved: { places: Record<string, [number, number]> };
  materialise: { names: string[] };
  reset: Record<string, never>;
}

export type Tell = <E extends keyof Events>(event: E, value: Events[E]) => void;
