#!/bin/sh
# Deployed by workbench.yaml.
echo "greetings from $(hostname): $LAB_GREETING"
