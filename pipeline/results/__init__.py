"""From records and ledgers to figures, tables and comparisons."""
