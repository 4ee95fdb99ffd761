/** The graph of a pipeline: nodes with their status, and edges that people can draw. */
import {
  Background,
  ControlButton,
  Controls,
  MarkerType,
  MiniMap,
  Panel,
  ReactFlow,
  ReactFlowProvider,
  useEdgesState,
  useNodesState,
  useReactFlow,
  useStore,
  type Connection,
  type Edge,
  type FinalConnectionState,
  type NodeChange,
} from "@xyflow/react";
import { useCallback, useEffect, useMemo, useRef, useState, type DragEvent } from "react";

import { Box, Fits, Found, spoken, type BoxNode } from "./Box";
import { HEIGHT, WIDTH, layOut } from "./layout";
import { Menu, type MenuAt } from "./Menu";
import { KIND, Palette } from "./Palette";
import { Regions } from "./Regions";
import { Search } from "./Search";
import type { Data, Place, Tell } from "./types";

const NODE_TYPES = { box: Box };
const QUIET_MS = 500;
const FAR = 0.62;
const FIT = { padding: 0.08, maxZoom: 1 };

interface Props {
  data: Data;
  dark: boolean;
  tell: Tell;
}

export function Canvas(props: Props) {
  return (
    <ReactFlowProvider>
      <Flow {...props} />
    </ReactFlowProvider>
  );
}

function Flow({ data, dark, tell }: Props) {
  const [nodes, setNodes, onNodesChange] = useNodesState<BoxNode>([]);
  const [edges, setEdges] = useEdgesState<Edge>([]);
  const [fits, setFits] = useState<ReadonlySet<string> | null>(null);
  const [found, setFound] = useState<ReadonlySet<string> | null>(null);
  const [menu, setMenu] = useState<MenuAt | null>(null);
  const frame = useRef<HTMLDivElement>(null);
  const far = useStore((state) => state.transform[2] < FAR);
  const flow = useReactFlow<BoxNode>();
  const moved = useMoves(tell, data.mayEdit);

  usePicture(data, setNodes, setEdges, moved.pending);
  useFitOnce(nodes.length > 0, data.layout);

  const kinds = useMemo(() => new Map(data.nodes.map((n) => [n.name, n.kind])), [data.nodes]);
  const selected = useMemo(() => nodes.filter((n) => n.selected).map((n) => n.id), [nodes]);
  const computable = selected.filter((name) => {
    const standing = data.nodes.find((node) => node.name === name)?.standing;
    return standing !== "source" && standing !== "defined";
  });

  const parentsOf = (kind: string) =>
    new Set(Object.keys(data.links).filter((parent) => data.links[parent]?.includes(kind)));
  const allowed = (link: Connection | Edge) =>
    link.source !== link.target &&
    (data.links[kinds.get(link.source) ?? ""] ?? []).includes(kinds.get(link.target) ?? "");

  const changed = useCallback(
    (changes: NodeChange<BoxNode>[]) => {
      onNodesChange(changes);
      moved.note(changes);
    },
    [onNodesChange, moved],
  );

  const droppedEdge = (event: MouseEvent | TouchEvent, state: FinalConnectionState) => {
    setFits(null);
    const parent = state.fromNode?.id;
    const box = frame.current?.getBoundingClientRect();
    if (!parent || !box || state.toNode) return;
    const point = "changedTouches" in event ? event.changedTouches[0] : event;
    const kindsHere = data.links[kinds.get(parent) ?? ""] ?? [];
    if (!point || !kindsHere.length) return;
    const title = data.nodes.find((node) => node.name === parent)?.title ?? parent;
    setMenu({
      x: Math.min(point.clientX - box.left, box.width - 200),
      y: Math.min(point.clientY - box.top, box.height - 40 - 36 * kindsHere.length),
      parent,
      title,
      kinds: data.palette.filter(({ kind }) => kindsHere.includes(kind)),
    });
  };

  const dropped = (event: DragEvent) => {
    event.preventDefault();
    const kind = event.dataTransfer.getData(KIND);
    setFits(null);
    if (kind) tell("created", { kind, parent: fitting(nodeUnder(event.nativeEvent), kind) });
  };
  const fitting = (name: string | null | undefined, kind: string) =>
    name && parentsOf(kind).has(kinds.get(name) ?? "") ? name : null;

  return (
    <Fits.Provider value={fits}>
      <Found.Provider value={found}>
        <div
          ref={frame}
          className={far ? "canvas far" : "canvas"}
          style={{ height: data.height }}
          role="group"
          aria-label={data.label}
        >
          <div className="bar">
            <Search nodes={data.nodes} onFound={setFound} />
            {data.mayEdit && (
              <Palette
                kinds={data.palette}
                onDrag={(kind) => setFits(kind ? parentsOf(kind) : null)}
                onChoose={(kind) => {
                  const one = selected.length === 1 ? selected[0] : null;
                  tell("created", { kind, parent: fitting(one, kind) });
                }}
              />
            )}
          </div>
          <ReactFlow<BoxNode>
            nodes={nodes}
            edges={edges}
            nodeTypes={NODE_TYPES}
            onNodesChange={changed}
            colorMode={dark ? "dark" : "light"}
            minZoom={0.03}
            maxZoom={2}
            deleteKeyCode={null}
            selectionKeyCode="Shift"
            multiSelectionKeyCode={["Meta", "Control"]}
            nodesConnectable={data.mayEdit}
            edgesFocusable={false}
            connectionRadius={24}
            isValidConnection={allowed}
            onConnectStart={(_, { nodeId }) =>
              setFits(new Set(data.links[kinds.get(nodeId ?? "") ?? ""] ?? []))
            }
            onConnectEnd={droppedEdge}
            onConnect={({ source, target }) => tell("connected", { parent: source, child: target })}
            onNodeClick={(event, node) => {
              if (!event.ctrlKey && !event.metaKey && !event.shiftKey) {
                tell("opened", { name: node.id });
              }
            }}
            onKeyDown={(event) => {
              const name = event.key === "Enter" ? nodeUnder(event.nativeEvent) : null;
              if (name) tell("opened", { name });
            }}
            onDragOver={(event) => {
              if (event.dataTransfer.types.includes(KIND)) event.preventDefault();
            }}
            onDrop={dropped}
          >
            <Background gap={24} />
            <Regions nodes={nodes} />
            <MiniMap<BoxNode>
              pannable
              zoomable
              style={{ width: 132, height: 92 }}
              ariaLabel="Overview of the canvas"
              nodeClassName={(node) => node.data.info.standing}
            />
            <Controls showInteractive={false} fitViewOptions={FIT}>
              {data.mayEdit && (
                <ControlButton
                  onClick={() => tell("reset", {})}
                  title="Reset the layout"
                  aria-label="Reset the layout"
                >
                  <svg viewBox="0 0 20 20" aria-hidden="true">
                    <path d="M2 3h5v4H2zM2 13h5v4H2zM13 8h5v4h-5zM7 5h3v10H7v-1h2V6H7zM10 9.5h3v1h-3z" />
                  </svg>
                </ControlButton>
              )}
            </Controls>
            {selected.length > 0 && (
              <Panel position="top-center">
                <div className="selection" role="toolbar" aria-label="Selected nodes">
                  <span role="status">{selected.length} selected</span>
                  {data.mayEdit && (
                    <button
                      type="button"
                      disabled={!computable.length}
                      onClick={() => tell("materialise", { names: computable })}
                    >
                      Materialise
                    </button>
                  )}
                  <button
                    type="button"
                    onClick={() => void flow.fitView({ ...FIT, nodes: selected.map((id) => ({ id })), duration: 300 })}
                  >
                    Zoom to
                  </button>
                  <button
                    type="button"
                    onClick={() => setNodes((all) => all.map((n) => (n.selected ? { ...n, selected: false } : n)))}
                  >
                    Clear
                  </button>
                </div>
              </Panel>
            )}
          </ReactFlow>
          {menu && (
            <Menu
              at={menu}
              onClose={() => setMenu(null)}
              onChoose={(kind) => {
                setMenu(null);
                tell("created", { kind, parent: menu.parent });
              }}
            />
          )}
        </div>
      </Found.Provider>
    </Fits.Provider>
  );
}

/** Takes the data from Python, and replaces only nodes that have changed. */
function usePicture(
  data: Data,
  setNodes: (change: (old: BoxNode[]) => BoxNode[]) => void,
  setEdges: (edges: Edge[]) => void,
  pending: React.RefObject<Map<string, Place>>,
): void {
  const shape = JSON.stringify([
    data.nodes.map((node) => node.name),
    data.edges.map((edge) => [edge.parent, edge.child, edge.through, edge.implied]),
  ]);
  const layout = useMemo(() => layOut(data.nodes, data.edges), [shape]);
  const given = useRef(new Map<string, string>());
  const laidOut = useRef(data.layout);

  useEffect(() => {
    const reset = laidOut.current !== data.layout;
    laidOut.current = data.layout;
    setNodes((old) => {
      const before = new Map(old.map((node) => [node.id, node]));
      return data.nodes.map((info) => {
        const known = before.get(info.name);
        const source = (data.links[info.kind] ?? []).length > 0;
        // Apply a position that somebody else chose, but not the echo of our own move.
        const place = JSON.stringify(info.place);
        const replaced = place !== (given.current.get(info.name) ?? place);
        given.current.set(info.name, place);
        const there = info.place ? { x: info.place[0], y: info.place[1] } : undefined;
        const still = known && !reset && (!replaced || pending.current.has(info.name) || !there);
        const position = still ? known.position : (there ?? layout.get(info.name) ?? { x: 0, y: 0 });
        if (known && still && JSON.stringify(known.data.info) === JSON.stringify(info)) return known;
        return {
          ...known,
          id: info.name,
          type: "box" as const,
          position,
          width: WIDTH,
          height: HEIGHT,
          ariaLabel: spoken(info),
          data: { info, source },
        };
      });
    });
  }, [data.nodes, data.layout, layout]);

  useEffect(() => {
    setEdges(
      data.edges.map((edge) => ({
        id: `${edge.parent} ${edge.child}`,
        source: edge.parent,
        target: edge.child,
        selectable: false,
        className: [
          edge.through ? "through" : "",
          edge.implied ? "implied" : "",
          data.opened && [edge.parent, edge.child].includes(data.opened) ? "hot" : "",
        ].join(" "),
        markerEnd: { type: MarkerType.ArrowClosed, width: 16, height: 16 },
      })),
    );
  }, [shape, data.opened]);
}

/** Collects moves by mouse or arrow keys, and reports them once nothing has moved for a moment. */
function useMoves(tell: Tell, mayEdit: boolean) {
  const pending = useRef(new Map<string, Place>());
  const timer = useRef(0);
  const latest = useRef(tell);
  latest.current = tell;
  const note = useCallback(
    (changes: NodeChange<BoxNode>[]) => {
      let ended = false;
      for (const change of changes) {
        if (change.type !== "position" || !change.position) continue;
        pending.current.set(change.id, change.position);
        ended ||= !change.dragging;
      }
      if (!ended) return;
      window.clearTimeout(timer.current);
      timer.current = window.setTimeout(() => {
        const places = [...pending.current].map(([name, { x, y }]) => [name, [x, y]]);
        pending.current.clear();
        if (mayEdit && places.length) {
          latest.current("moved", { places: Object.fromEntries(places) });
        }
      }, QUIET_MS);
    },
    [mayEdit],
  );
  useEffect(() => () => window.clearTimeout(timer.current), []);
  return useMemo(() => ({ pending, note }), [note]);
}

/** Fits the view at first and after a reset of the layout, and otherwise leaves it alone. */
function useFitOnce(ready: boolean, layout: number): void {
  const flow = useReactFlow();
  const wide = useStore((state) => state.width > 0);
  const done = useRef<number | null>(null);
  useEffect(() => {
    if (ready && wide && done.current !== layout) {
      done.current = layout;
      requestAnimationFrame(() => void flow.fitView(FIT));
    }
  }, [ready, wide, layout, flow]);
}

function nodeUnder(event: Event): string | null {
  for (const element of event.composedPath()) {
    if (element instanceof HTMLElement && element.classList.contains("react-flow__node")) {
      return element.dataset.id ?? null;
    }
  }
  return null;
}
