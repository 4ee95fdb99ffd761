/** The code editor: CodeMirror in a Streamlit component. */
import { closeBrackets, closeBracketsKeymap, completionKeymap } from "@codemirror/autocomplete";
import { defaultKeymap, history, historyKeymap, indentWithTab } from "@codemirror/commands";
import { bracketMatching, foldGutter, indentOnInput } from "@codemirror/language";
import { lintGutter, lintKeymap, setDiagnostics, type Diagnostic } from "@codemirror/lint";
import { highlightSelectionMatches, searchKeymap } from "@codemirror/search";
import { Compartment, EditorState, Prec, type Extension, type Text } from "@codemirror/state";
import {
  EditorView,
  drawSelection,
  highlightActiveLine,
  highlightActiveLineGutter,
  keymap,
  lineNumbers,
} from "@codemirror/view";
import type { FrontendRendererArgs } from "@streamlit/component-v2-lib";

import { isDark } from "../shared/theme";
import sheet from "./editor.css";
import { language, type Language, type Schema } from "./languages";
import { look } from "./theme";

interface Problem {
  /** Both start at 1; line 0 means the whole text. */
  line: number;
  column: number;
  message: string;
  severity: "error" | "warning" | "info";
}

interface Data {
  label: string;
  value: string;
  /** Counts how often the program replaced the text. */
  generation: number;
  language: Language;
  schema: Schema;
  names: readonly string[];
  problems: readonly Problem[];
  height: number;
  read_only: boolean;
}

type State = { edit: { text: string; generation: number } };
type Args = FrontendRendererArgs<State, Data>;

const QUIET_MS = 400;
const WORD: Record<Problem["severity"], string> = {
  error: "Error",
  warning: "Warning",
  info: "Note",
};

class Editor {
  private readonly view: EditorView;
  private readonly root = document.createElement("div");
  private readonly label = document.createElement("div");
  private readonly frame = document.createElement("div");
  private readonly list = document.createElement("ul");
  private readonly settings = new Compartment();
  private args: Args;
  private timer: number | undefined;
  private sent: string;
  private shown = "";
  private marked = "";
  private generation: number;

  constructor(args: Args) {
    this.args = args;
    this.sent = args.data.value;
    this.generation = args.data.generation;
    this.build();
    this.view = new EditorView({
      parent: this.frame,
      root: args.parentElement as unknown as ShadowRoot,
      state: EditorState.create({
        doc: args.data.value,
        extensions: [this.fixed(), this.settings.of([])],
      }),
    });
    this.update(args);
  }

  /** Takes new data from the program; the text only if the program replaced it. */
  update(args: Args): void {
    this.args = args;
    const { data } = args;
    if (data.generation !== this.generation) {
      this.generation = data.generation;
      this.forgetPending();
      this.sent = data.value;
      this.view.dispatch({
        changes: { from: 0, to: this.view.state.doc.length, insert: data.value },
      });
    }
    this.configure(data);
    this.mark(data.problems);
  }

  destroy(): void {
    this.forgetPending();
    this.view.destroy();
    this.root.remove();
  }

  private build(): void {
    const style = document.createElement("style");
    style.textContent = sheet;
    this.root.className = "editor";
    this.label.className = "label";
    this.label.id = "label";
    this.frame.className = "frame";
    this.list.className = "problems";
    this.list.setAttribute("role", "status");
    const hint = document.createElement("div");
    hint.className = "hint";
    hint.id = "hint";
    hint.textContent = "Tab indents; Esc, then Tab leaves the editor; Ctrl+Space completes.";
    this.root.append(style, this.label, this.frame, this.list, hint);
    this.args.parentElement.appendChild(this.root);
  }

  /** Extensions that never change. */
  private fixed(): Extension {
    return [
      // Before completion, which consumes the key while it is open.
      Prec.highest(EditorView.domEventHandlers({ keydown: (event, view) => leave(event, view) })),
      lineNumbers(),
      lintGutter(),
      foldGutter(),
      history(),
      drawSelection(),
      indentOnInput(),
      bracketMatching(),
      closeBrackets(),
      highlightActiveLine(),
      highlightActiveLineGutter(),
      highlightSelectionMatches(),
      EditorView.lineWrapping,
      keymap.of([
        { key: "Mod-Enter", run: () => this.send() },
        ...closeBracketsKeymap,
        ...defaultKeymap,
        ...searchKeymap,
        ...historyKeymap,
        ...completionKeymap,
        ...lintKeymap,
        indentWithTab,
      ]),
      EditorView.updateListener.of((update) => {
        if (update.docChanged) this.sendSoon();
      }),
      EditorView.domEventHandlers({ blur: () => void this.send() }),
    ];
  }

  /** Applies settings only if they changed, as applying them closes an open completion. */
  private configure(data: Data): void {
    this.label.textContent = data.label;
    const dark = isDark(this.frame);
    const wanted = JSON.stringify([
      ...[data.label, data.language, data.schema, data.names, data.height, data.read_only],
      dark,
    ]);
    if (wanted === this.shown) return;
    this.shown = wanted;
    const tall = Math.max(data.height, 40);
    this.view.dispatch({
      effects: this.settings.reconfigure([
        language(data.language, data.schema, data.names),
        look(dark),
        EditorView.theme({
          ".cm-content, .cm-gutter": { minHeight: `${tall}px` },
          ".cm-scroller": { maxHeight: `${Math.round(tall * 1.7)}px` },
        }),
        EditorState.readOnly.of(data.read_only),
        EditorView.editable.of(!data.read_only),
        EditorView.contentAttributes.of({
          "aria-label": data.label,
          "aria-describedby": "hint",
          "aria-readonly": String(data.read_only),
          // A read-only text can still be read and scrolled by keyboard.
          ...(data.read_only ? { tabindex: "0" } : {}),
        }),
      ]),
    });
  }

  private mark(problems: readonly Problem[]): void {
    const wanted = JSON.stringify(problems);
    if (wanted === this.marked) return;
    this.marked = wanted;
    const { doc } = this.view.state;
    const found = problems.map((problem) => diagnostic(doc, problem));
    this.view.dispatch(setDiagnostics(this.view.state, found));
    const worst = problems.some((p) => p.severity === "error") ? "error" : "";
    this.frame.dataset.problems = worst;
    this.list.replaceChildren(...problems.map((problem) => this.item(problem)));
  }

  /** A problem as a button that goes to its place in the text. */
  private item(problem: Problem): HTMLElement {
    const item = document.createElement("li");
    item.dataset.severity = problem.severity;
    const button = document.createElement("button");
    button.type = "button";
    const what = document.createElement("b");
    what.textContent = `${WORD[problem.severity]}${where(problem)}: `;
    button.append(what, problem.message);
    button.addEventListener("click", () => {
      const { from } = diagnostic(this.view.state.doc, problem);
      this.view.dispatch({ selection: { anchor: from }, scrollIntoView: true });
      this.view.focus();
    });
    item.append(button);
    return item;
  }

  private sendSoon(): void {
    window.clearTimeout(this.timer);
    this.timer = window.setTimeout(() => this.send(), QUIET_MS);
  }

  private send(): boolean {
    this.forgetPending();
    const text = this.view.state.doc.toString();
    if (text !== this.sent) {
      this.sent = text;
      this.args.setStateValue("edit", { text, generation: this.generation });
    }
    return true;
  }

  private forgetPending(): void {
    window.clearTimeout(this.timer);
    this.timer = undefined;
  }
}

/** For two seconds after Esc, Tab leaves the editor. */
function leave(event: KeyboardEvent, view: EditorView): boolean {
  if (event.key === "Escape") view.setTabFocusMode(2000);
  return false;
}

function where(problem: Problem): string {
  return problem.line > 0 ? ` in line ${problem.line}, column ${problem.column}` : "";
}

/** The word at the problem's place, or the end of the line if the text has become shorter. */
function diagnostic(doc: Text, problem: Problem): Diagnostic {
  const line = doc.line(Math.min(Math.max(problem.line, 1), doc.lines));
  const from = Math.min(line.from + Math.max(problem.column - 1, 0), line.to);
  const word = /^[\w"']+|^\S/.exec(line.text.slice(from - line.from))?.[0] ?? "";
  const { severity, message } = problem;
  return { from, to: Math.min(from + Math.max(word.length, 1), doc.length), severity, message };
}

const editors = new WeakMap<object, Editor>();

export default function render(args: Args): () => void {
  const known = editors.get(args.parentElement);
  if (known) {
    known.update(args);
  } else {
    editors.set(args.parentElement, new Editor(args));
  }
  return () => {
    editors.get(args.parentElement)?.destroy();
    editors.delete(args.parentElement);
  };
}
