"""The far side of our sessions: what a ToR or a node must be told, and how each system spells it.

`facts` takes from the configuration what the far side must know, as plain data; every other module writes that
data in the language of one system. All of it is pure: text comes out, nothing is applied.
"""
