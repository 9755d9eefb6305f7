"""Turns image files into checked pyramid TIFFs, with libvips; needs neither Dagster nor AWS."""
