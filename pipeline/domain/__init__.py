"""The nouns that everything else speaks of, and the checks that guard them. No I/O."""
