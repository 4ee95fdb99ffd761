/** CodeMirror in Streamlit's colours, light and dark. */
import { HighlightStyle, syntaxHighlighting } from "@codemirror/language";
import type { Extension } from "@codemirror/state";
import { EditorView } from "@codemirror/view";
import { tags } from "@lezer/highlight";

// Each has a contrast of at least 4.5:1 on the background of its theme.
const LIGHT = {
  keyword: "#6b3fa0",
  name: "#0b5cad",
  text: "#2c6a2f",
  number: "#a3400b",
  comment: "#5b6b6d",
  invalid: "#b3261e",
};
const DARK: typeof LIGHT = {
  keyword: "#c9a6f5",
  name: "#82bdf2",
  text: "#9bd49e",
  number: "#f2ab7c",
  comment: "#94a8aa",
  invalid: "#ff8f87",
};

export function look(dark: boolean): Extension {
  const colour = dark ? DARK : LIGHT;
  return [
    EditorView.theme(
      {
        "&": {
          color: "var(--st-text-color)",
          backgroundColor: "transparent",
          fontSize: "0.875rem",
        },
        "&.cm-focused": { outline: "none" },
        ".cm-scroller": {
          fontFamily: "var(--st-code-font)",
          lineHeight: "1.5",
          overflow: "auto",
        },
        ".cm-content": { caretColor: "var(--st-text-color)" },
        ".cm-cursor": { borderLeftColor: "var(--st-text-color)" },
        ".cm-gutters": {
          color: colour.comment,
          backgroundColor: "var(--st-secondary-background-color)",
          borderRight: "1px solid var(--st-border-color)",
        },
        ".cm-activeLine, .cm-activeLineGutter": {
          backgroundColor: "color-mix(in srgb, var(--st-primary-color) 8%, transparent)",
        },
        "&.cm-focused > .cm-scroller > .cm-selectionLayer .cm-selectionBackground, .cm-selectionBackground":
          { backgroundColor: "color-mix(in srgb, var(--st-primary-color) 25%, transparent)" },
        ".cm-matchingBracket": {
          backgroundColor: "color-mix(in srgb, var(--st-primary-color) 25%, transparent)",
          outline: "1px solid var(--st-primary-color)",
        },
        ".cm-tooltip": {
          color: "var(--st-text-color)",
          backgroundColor: "var(--st-background-color)",
          border: "1px solid var(--st-border-color)",
          borderRadius: "var(--st-base-radius)",
          fontFamily: "var(--st-font)",
        },
        ".cm-tooltip.cm-tooltip-autocomplete > ul": { fontFamily: "var(--st-code-font)" },
        ".cm-tooltip.cm-tooltip-autocomplete > ul > li[aria-selected]": {
          color: "var(--st-background-color)",
          backgroundColor: "var(--st-primary-color)",
        },
        ".cm-panels": {
          color: "var(--st-text-color)",
          backgroundColor: "var(--st-secondary-background-color)",
        },
        ".cm-panels input, .cm-panels button": {
          color: "var(--st-text-color)",
          backgroundColor: "var(--st-background-color)",
          backgroundImage: "none",
          border: "1px solid var(--st-border-color)",
        },
      },
      { dark },
    ),
    syntaxHighlighting(
      HighlightStyle.define([
        { tag: [tags.keyword, tags.operatorKeyword, tags.bool, tags.null], color: colour.keyword },
        { tag: [tags.typeName, tags.function(tags.variableName)], color: colour.name },
        { tag: [tags.standard(tags.name), tags.definition(tags.name)], color: colour.name },
        { tag: [tags.string, tags.special(tags.string)], color: colour.text },
        { tag: [tags.number], color: colour.number },
        { tag: [tags.comment], color: colour.comment, fontStyle: "italic" },
        { tag: [tags.invalid], color: colour.invalid },
      ]),
    ),
  ];
}
