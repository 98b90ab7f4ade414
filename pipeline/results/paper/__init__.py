"""The paper's tables and figures, beside those measured here."""
