"""Entropies of runs that recorded none, from the trajectories that they dumped."""
