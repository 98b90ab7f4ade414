"""The audit of a run or a sweep: where every gram comes from."""
