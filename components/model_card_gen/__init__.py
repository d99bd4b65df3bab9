"""ModelCardGen: what a model is for, what it was made from, and what it cannot do, as Markdown."""
