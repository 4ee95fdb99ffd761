/** The status of a node as an icon; the word stands beside it. */
import type { Standing } from "./types";

const SHAPES: Record<Standing, string> = {
  fresh: "M4 10.5l4 4 8-9",
  waiting: "M5 3h10M5 17h10M6 3c0 4 3 5 4 7-1 2-4 3-4 7M14 3c0 4-3 5-4 7 1 2 4 3 4 7",
  stale: "M10 5v5l3 2M10 2.5a7.5 7.5 0 1 0 0 15 7.5 7.5 0 0 0 0-15",
  running: "M10 2.5a7.5 7.5 0 1 1-7.1 5",
  failed: "M6 6l8 8M14 6l-8 8M10 2a8 8 0 1 0 0 16 8 8 0 0 0 0-16",
  broken: "M10 3l8 14H2zM10 8.5v4M10 14.6v.4",
  source: "M3 5.5c0-1.7 3.1-3 7-3s7 1.3 7 3-3.1 3-7 3-7-1.3-7-3v9c0 1.7 3.1 3 7 3s7-1.3 7-3v-9",
  defined: "M4 10h12",
};

export const WORDS: Record<Standing, string> = {
  fresh: "up to date",
  waiting: "waiting for a refresh",
  stale: "stale",
  running: "running",
  failed: "failed",
  broken: "broken",
  source: "source",
  defined: "defined",
};

export function Shape({ standing }: { standing: Standing }) {
  return (
    <svg className={`shape ${standing}`} viewBox="0 0 20 20" aria-hidden="true">
      <path d={SHAPES[standing]} />
    </svg>
  );
}
