/** What Python gives, and what it is told. */

export type Standing =
  | "fresh"
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
  /** The kind as people say it. */
  kindWords: string;
  /** The concept around it, in a picture of many. */
  region: string;
  /** Another concept's, when it is not of this picture. */
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
  /** A longer way leads there, too. */
  implied: boolean;
}

export interface Data {
  label: string;
  nodes: readonly NodeInfo[];
  edges: readonly EdgeInfo[];
  /** Kinds of which a node of a kind can be the parent. */
  links: Record<string, readonly string[]>;
  /** Kinds that can be made, and how they are called. */
  palette: readonly { kind: string; words: string }[];
  mayEdit: boolean;
  opened: string;
  height: number;
  /** Counts how often the program laid all of it out anew. */
  layout: number;
}

/** Each is an event; ``serial`` tells apart two that say the same. */
export interface Events {
  opened: { name: string };
  created: { kind: string; parent: string | null };
  connected: { parent: string; child: string };
  moved: { places: Record<string, [number, number]> };
  materialise: { names: string[] };
  reset: Record<string, never>;
}

export type Tell = <E extends keyof Events>(event: E, value: Events[E]) => void;
