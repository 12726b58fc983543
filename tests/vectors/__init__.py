"""Recorded vectors: what every protocol sent, held, cost and opened, bit for bit (`make.py`)."""
