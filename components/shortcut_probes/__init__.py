"""ShortcutProbes: asks the export about slices without their lungs, to see what else it learned."""
