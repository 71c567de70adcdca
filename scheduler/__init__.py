"""What runs by the clock: the scheduler and its table of jobs. Only `groupspaces.app` imports this package."""
