/** One node of the canvas. */
import { Handle, Position, type Node, type NodeProps } from "@xyflow/react";
import { Fragment, createContext, memo, useContext } from "react";

import { Shape, WORDS } from "./icons";
import type { NodeInfo } from "./types";

export type BoxNode = Node<{ info: NodeInfo; source: boolean }, "box">;

/** Kinds of nodes that fit what is being dragged or drawn; null if nothing is. */
export const Fits = createContext<ReadonlySet<string> | null>(null);

/** Names that match the search; null without a search. */
export const Found = createContext<ReadonlySet<string> | null>(null);

export const Box = memo(function Box({ data, isConnectable }: NodeProps<BoxNode>) {
  const { info } = data;
  const fits = useContext(Fits);
  const found = useContext(Found);
  const classes = ["box", info.standing];
  if (info.elsewhere) classes.push("elsewhere");
  if (fits) classes.push(fits.has(info.kind) ? "fits" : "dim");
  if (found) classes.push(found.has(info.name) ? "found" : "dim");
  return (
    <div className={classes.join(" ")} data-kind={info.kind} title={info.why || undefined}>
      <Handle type="target" position={Position.Left} isConnectableStart={false} />
      <div className="head">
        <span className="kind">
          {info.elsewhere ? `${info.elsewhere} · ${info.kindWords}` : info.kindWords}
        </span>
        <span className="state">
          <Shape standing={info.standing} />
          {WORDS[info.standing]}
        </span>
      </div>
      <div className="name">{breakable(info.title)}</div>
      <div className="facts">{info.facts}</div>
      <Handle
        type="source"
        position={Position.Right}
        isConnectableStart={isConnectable && data.source}
        isConnectableEnd={false}
        title={data.source ? "Drag to draw an edge" : undefined}
      />
    </div>
  );
});

/** A name that can wrap between its words. */
function breakable(name: string) {
  return name.split(/(?<=[._])/).map((word, at) => (
    <Fragment key={at}>
      {at > 0 && <wbr />}
      {word}
    </Fragment>
  ));
}

/** What a screen reader says about a node. */
export function spoken(info: NodeInfo): string {
  const parts = [info.kindWords, info.title, WORDS[info.standing], info.facts, info.why];
  if (info.elsewhere) parts.push(`of ${info.elsewhere}`);
  return parts.filter(Boolean).join(", ");
}
