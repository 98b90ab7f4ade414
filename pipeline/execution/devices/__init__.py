"""Device processes of this host: how they are started, asked and measured."""
