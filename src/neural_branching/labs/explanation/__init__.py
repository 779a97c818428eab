"""Images explained by branches of an autoencoder: what a frozen classifier goes by, and what it does not.

After DXAI (Kadar, Brokman & Gilboa), in our own, smaller reconstruction: ``classifier → autoencoder whose
first branch holds the class evidence → gate → faithfulness beside controls``.
"""
