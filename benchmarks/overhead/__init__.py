"""What does an open function scope cost by itself?"""
