"""Inline SVG figures that fill any width, follow the page's colours and need no script."""
