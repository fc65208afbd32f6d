"""Every function of torch that can be replaced: what becomes of relevance in it?"""
