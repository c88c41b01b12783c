"""Where a study runs: connecting to Ray, counting resources, bringing a cluster up."""
