"""Branch specialization (Voss et al., Distill 2021), measured.

``partition → features and responses → tests → lesions → claims``: units of a layer are divided among
branches, each unit gets numbers, and each number is compared with what units have that are divided at random.
"""
