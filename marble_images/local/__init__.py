"""The stand-ins: real servers on 127.0.0.1 that let the whole pipeline run on one machine.

They speak the real protocols (AppSync's GraphQL, AWS through moto, HTTP, Google's token endpoint and
Drive), keep their state under one folder, and misbehave on command. No production code imports this
package.
"""
