"""What an operator watches: one reading of a deployment's figures, as metrics and as a screen."""
