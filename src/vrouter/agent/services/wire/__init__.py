# SPDX-License-Identifier: Apache-2.0
"""Codecs of the packet services: one small file per protocol, bytes in and bytes out.

A reader raises `Malformed` and nothing else, whatever the bytes are. All is network byte order;
MACs are 6 bytes, addresses `ipaddress` objects, domain names text without the last dot.
"""
