"""A drill: sites of a study lie in every way there is a paper about, and what becomes of its model is written down.

The lying lives here and in `sealround.audit` alone: coordinators and sites are those of a real study, and never learn
that this is a drill.
"""
