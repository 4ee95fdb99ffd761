/** Frames around the nodes of each concept, in the picture of all concepts. */
import { useStore, ViewportPortal } from "@xyflow/react";
import { useMemo } from "react";

import type { BoxNode } from "./Box";
import { HEIGHT, WIDTH } from "./layout";

const MARGIN = 18;
const TITLE = 15;

interface Region {
  name: string;
  left: number;
  top: number;
  right: number;
  bottom: number;
}

export function Regions({ nodes }: { nodes: readonly BoxNode[] }) {
  const zoom = useStore((state) => state.transform[2]);
  const regions = useMemo(() => around(nodes), [nodes]);
  return (
    <ViewportPortal>
      {regions.map((r) => (
        <div
          key={r.name}
          className="region"
          style={{
            transform: `translate(${r.left}px, ${r.top}px)`,
            width: r.right - r.left,
            height: r.bottom - r.top,
          }}
        >
          {/* The same size at any zoom: legible even when the names of nodes are not. */}
          <span style={{ fontSize: TITLE / zoom }}>{r.name}</span>
        </div>
      ))}
    </ViewportPortal>
  );
}

function around(nodes: readonly BoxNode[]): Region[] {
  const regions = new Map<string, Region>();
  for (const { data, position } of nodes) {
    const name = data.info.region;
    if (!name) continue;
    const box = {
      left: position.x - MARGIN,
      top: position.y - MARGIN,
      right: position.x + WIDTH + MARGIN,
      bottom: position.y + HEIGHT + MARGIN,
    };
    const known = regions.get(name) ?? { name, ...box };
    regions.set(name, {
      name,
      left: Math.min(known.left, box.left),
      top: Math.min(known.top, box.top),
      right: Math.max(known.right, box.right),
      bottom: Math.max(known.bottom, box.bottom),
    });
  }
  return [...regions.values()];
}
