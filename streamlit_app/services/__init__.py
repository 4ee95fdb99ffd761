"""What pages ask and do, without Streamlit; each function takes the ``App`` it works for."""
