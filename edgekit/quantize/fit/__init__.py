"""Recipes that fit: what each layer costs in accuracy and in time, and the cheapest to do."""
