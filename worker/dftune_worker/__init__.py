"""The PyTorch worker of dftune: FSDP2 under torchrun, fed by prepared shards and an objective's JSON."""
