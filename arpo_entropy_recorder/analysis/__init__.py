"""Numbers from records: by round, tool and step, paired, as tables, and from a training log."""
