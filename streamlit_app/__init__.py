"""The browser app: pages over the domains' functions. It computes nothing itself."""
