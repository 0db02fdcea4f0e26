"""Stands in for the module kolla_toolbox of Kolla-Ansible in a check of syntax."""
