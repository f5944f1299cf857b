"""Where a converted network loses accuracy, layer by layer: the error ledger, its page, its advice."""
