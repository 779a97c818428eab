"""Images taken apart by branched autoencoders (Brokman & Gilboa; our own reconstruction), measured.

``autoencoder → parts → measures beside controls → findings``: parallel branches whose outputs are added up
reconstruct an image, and what each of them contributes gets numbers.
"""
