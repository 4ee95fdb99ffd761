"""What the Definitions page does: list, edit, validate, preview, save, import and export."""
