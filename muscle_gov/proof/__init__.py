"""What makes a verdict checkable by somebody who does not trust whoever gave it.

`evidence` gathers what a verdict rests on, `folder` writes it down with every form of the report,
`signing` says who stands for a folder, and `verify` makes all of it again from the rows.
"""
