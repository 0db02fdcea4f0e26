"""Stands in for the module kolla_container of Kolla-Ansible in a check of syntax."""
