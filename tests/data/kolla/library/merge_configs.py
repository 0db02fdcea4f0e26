"""Stands in for the module merge_configs of Kolla-Ansible in a check of syntax."""
