/** Finds nodes by words of their names, kinds and statuses. */
import { useReactFlow } from "@xyflow/react";
import { useMemo, useRef, useState } from "react";

import type { BoxNode } from "./Box";
import { WORDS } from "./icons";
import { HEIGHT, WIDTH } from "./layout";
import type { NodeInfo } from "./types";

export function matches(nodes: readonly NodeInfo[], text: string): readonly string[] {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  if (!words.length) return [];
  return nodes
    .filter((node) => {
      const { name, title, kindWords, standing } = node;
      const searched = `${name} ${title} ${kindWords} ${WORDS[standing]}`.toLowerCase();
      return words.every((word) => searched.includes(word));
    })
    .map((node) => node.name);
}

interface Props {
  nodes: readonly NodeInfo[];
  onFound: (names: ReadonlySet<string> | null) => void;
}

export function Search({ nodes, onFound }: Props) {
  const flow = useReactFlow<BoxNode>();
  const [text, setText] = useState("");
  const at = useRef(-1);
  const found = useMemo(() => matches(nodes, text), [nodes, text]);

  const centre = (name: string | undefined) => {
    const node = name === undefined ? undefined : flow.getNode(name);
    if (!node) return;
    const { x, y } = node.position;
    const zoom = Math.max(flow.getZoom(), 0.9);
    void flow.setCenter(x + WIDTH / 2, y + HEIGHT / 2, { zoom, duration: 300 });
  };
  const change = (value: string) => {
    const names = matches(nodes, value);
    at.current = 0;
    setText(value);
    onFound(value.trim() ? new Set(names) : null);
    centre(names[0]);
  };
  const next = (by: number) => {
    at.current = (at.current + by + found.length) % Math.max(found.length, 1);
    centre(found[at.current]);
  };
  return (
    <div className="search" role="search">
      <input
        type="search"
        value={text}
        placeholder="Search, e.g. stale rule"
        aria-label="Search the canvas"
        onChange={(event) => change(event.target.value)}
        onKeyDown={(event) => {
          if (event.key === "Enter") next(event.shiftKey ? -1 : 1);
          if (event.key === "Escape") change("");
          event.stopPropagation();
        }}
      />
      <span role="status">{text.trim() ? `${found.length} found` : ""}</span>
    </div>
  );
}
