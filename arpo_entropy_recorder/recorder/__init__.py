"""What runs inside a training, between the engine's steps. No error leaves this folder: see guard.py."""
