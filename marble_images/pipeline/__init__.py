"""From the keys of one run to published pyramids: plain Python, without Dagster."""
