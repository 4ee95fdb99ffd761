"""Everything that pages read and do, without Streamlit; functions take the ``App`` first."""
