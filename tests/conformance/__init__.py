"""Architectures and operators that every format must convert."""
